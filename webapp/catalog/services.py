"""Every change of the catalogue."""



