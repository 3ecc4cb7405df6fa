"""The one road to model APIs."""
