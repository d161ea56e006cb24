"""What `lab` has each kernel run at its start: a NameError is explained before any import, too.

IPython runs the file that PYTHONSTARTUP names among the learner's own names, so none is left there.
"""


def _prepare() -> None:
    from IPython import get_ipython

    def explain(shell, kind, error, trace, tb_offset=None):
        from camwidgets.course import accidents  # takes seconds, so not before it is needed

        accidents.explain(shell, kind, error, trace, tb_offset)

    shell = get_ipython()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((NameError,), explain)


_prepare()
del _prepare
