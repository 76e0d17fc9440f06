"""taches_lm_eval"""
