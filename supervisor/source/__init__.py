"""Reading an app's code without running it: its files, its imports, its version in git.

May use `values`. Start with `file_tree`, which says which files make up an app; `fingerprints`
notices changes and `import_survey` names the modules that are missing.
"""
