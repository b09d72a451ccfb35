import feature_repo  # noqa: F401  (switches the libraries' telemetry off before they load)
