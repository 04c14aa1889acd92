"""From the arguments of the command line to the call of a verb, its help, or one line about what is wrong with them."""

from collections.abc import Sequence
from typing import Any

import typer

from app.verbs import cli

INTERRUPTED = 130  # what the parser returns where it does not raise


def _help(arguments: Sequence[str]) -> str:
    """Format the help of the verb that the arguments name.

    The parser would first build validators for every option, which takes longer than everything else together.
    """
    command: Any = typer.main.get_command(cli)
    context = command.context_class(command, info_name="app", **command.context_settings)
    for argument in arguments:
        if argument in getattr(command, "commands", {}):
            command = command.commands[argument]
            context = command.context_class(command, info_name=argument, parent=context, **command.context_settings)
    return str(command.get_help(context))


def run(arguments: Sequence[str]) -> int:
    """Parse the arguments and run the verb.

    Args:
        arguments: words after `app`.

    Raises:
        KeyboardInterrupt: the user interrupted; versions of the parser differ in how they tell it.

    Returns:
        The exit status; 2 after a usage error, which is told in one line on stderr.
    """
    from app.cli import complain

    if not {"-h", "--help"}.isdisjoint(arguments):
        print(_help(arguments))
        return 0
    try:
        chosen = cli(args=list(arguments), prog_name="app", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # the one thing that usage errors of all versions of the parser share
            raise
        context = getattr(error, "ctx", None)
        complain(f"{error.format_message()} See {context.command_path if context else 'app'} --help.")
        return 2
    if chosen == INTERRUPTED:
        raise KeyboardInterrupt
    if callable(chosen):  # else the parser did what was asked for, such as showing the version
        chosen()
    return 0
