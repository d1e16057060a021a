"""The report stage: results/eval_all.json and results/plots/loss_curves.csv as one page that needs nothing else."""
