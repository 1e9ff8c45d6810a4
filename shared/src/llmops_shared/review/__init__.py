"""Review: questions to people about answers of models, written by train and monitor, answered on a page or on AWS."""
