"""The model gateway: it alone holds the key of a model API, and passes an agent's calls on."""
