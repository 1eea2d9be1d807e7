"""What trainings of every model share. Imports no model's folder."""
