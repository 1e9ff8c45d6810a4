"""How a run is split over processes: one engine object that the loop drives, whatever is behind it."""
