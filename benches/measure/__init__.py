"""What `benches/run` and `benches/instructions` are made of; README.md in the folder above says what is measured."""
