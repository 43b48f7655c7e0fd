"""Tests, in folders by package and cost."""
