"""The trainer's commands; torch is loaded only when they run."""
