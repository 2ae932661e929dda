"""The demo of gpt4_nano: its model repository as it is, answering with the mock."""
