"""What is said between people, the operator and its workloads: models, and what is made of them."""
