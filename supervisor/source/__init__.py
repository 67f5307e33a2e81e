"""Reading an app's code without running it: its files, its imports, its version in git.

May use `values`. Start with `file_tree`, which scans the files that make up an app; `fingerprints`
detects changes, `import_survey` names the modules that are missing, `git_state` the commit.
"""
