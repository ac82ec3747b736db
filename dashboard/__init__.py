"""The dashboard: thin Streamlit pages over lake_core."""
