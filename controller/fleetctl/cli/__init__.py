"""What click needs besides: arguments checked, questions asked, commands loaded late."""
