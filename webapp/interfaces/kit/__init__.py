"""What pages share: endpoints, lists, pickers, paging, template tags."""
