"""What an AI agent is given by the Model Context Protocol: tools, resources and updates, over any daemon."""
