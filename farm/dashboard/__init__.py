"""The pages to watch a farm on, served from the backlog and the store; nothing is kept here."""
