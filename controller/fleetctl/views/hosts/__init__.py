"""What hosts tell: themselves, what they have, their images, their limits, their tuning."""
