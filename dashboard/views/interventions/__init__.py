"""The sections of the page Interventions."""
