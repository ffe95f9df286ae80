"""Navigation: walk through a city by instructions, under rules that say how directions are named."""
