"""Everything about one neuron: statistics, concept labels, similarity, input attribution."""
