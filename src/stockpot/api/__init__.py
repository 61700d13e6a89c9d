"""What is said between people, the operator and its workloads: pydantic models only."""
