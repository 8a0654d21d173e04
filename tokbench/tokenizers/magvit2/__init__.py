"""Open-MAGVIT2 and Show-o's MAGVIT-v2: convolutional networks whose codes are signs of channels."""
