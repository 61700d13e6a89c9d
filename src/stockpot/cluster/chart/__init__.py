"""What of the Helm chart is made from models: values, permissions, the uninstall check."""
