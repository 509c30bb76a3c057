"""What is read of a run's results: published (`published`), drawn, exported, fitted by areas, listed by energy."""
