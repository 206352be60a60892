"""What runs around the detector: see docs/deploy.md. A package only for the dashboards, which are made by Python."""
