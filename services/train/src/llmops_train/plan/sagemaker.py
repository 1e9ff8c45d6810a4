"""What botocore's description of SageMaker says; nothing is asked of AWS."""

from functools import cache


@cache
def training_instance_types() -> list[str]:
    """Instance types of CreateTrainingJob."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    return list(model.shape_for("TrainingInstanceType").enum)
