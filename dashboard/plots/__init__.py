"""Results to Plotly figures: pure, one template, one palette."""
