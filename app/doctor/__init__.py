"""Whether a service's database, stores and folders are what they must be (docs/doctor.md)."""
