"""Programs that run inside the sandbox, as guests of the project's tools; none imports ours."""
