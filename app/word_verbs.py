"""The verbs of `app words`, on the store of enrolled words; only signatures and help, as in `app.verbs`."""

from typing import Annotated

import typer

from app.options import PLAIN, Backend, Call, Json, PerHour, Threshold, Word, Words, deferred

words = typer.Typer(help="List, show, set, rename, remove, export, import and upgrade enrolled words.", invoke_without_command=True, **PLAIN)


@words.callback()
def words_default(context: typer.Context) -> Call | None:
    """List the words when no verb is given."""
    if context.invoked_subcommand is None:
        return deferred("words", "list_words", words=None, as_json=False)
    return None


@words.command("list")
def words_list(words: Words = None, as_json: Json = False) -> Call:
    """List the enrolled words."""
    return deferred("words", "list_words", words=words, as_json=as_json)


@words.command("show")
def words_show(word: Word, words: Words = None, as_json: Json = False) -> Call:
    """Show what is stored about a word."""
    return deferred("words", "show", word=word, words=words, as_json=as_json)


@words.command("set")
def words_set(word: Word, words: Words = None, per_hour: PerHour = None, threshold: Threshold = None) -> Call:
    """Set when a word is accepted."""
    return deferred("words", "set_acceptance", word=word, words=words, per_hour=per_hour, threshold=threshold)


@words.command("rename")
def words_rename(
    word: Word, new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)], words: Words = None
) -> Call:
    """Give a word another name."""
    return deferred("words", "rename", word=word, new=new, words=words)


@words.command("remove")
def words_remove(
    names: Annotated[list[str], typer.Argument(metavar="WORD...", help="Words to forget.", show_default=False)], words: Words = None
) -> Call:
    """Forget words."""
    return deferred("words", "remove", names=names, words=words)


@words.command("export")
def words_export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Bundle to write.", show_default=False)],
    names: Annotated[list[str] | None, typer.Argument(metavar="WORD...", help="Words to put into it [default: all].", show_default=False)] = None,
    words: Words = None,
) -> Call:
    """Write words into one file, for another machine."""
    return deferred("words", "export_words", file=file, names=names or [], words=words)


@words.command("import")
def words_import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Bundle that `app words export` wrote.", show_default=False)],
    words: Words = None,
    model: Annotated[str | None, typer.Option("--model", metavar="FILE", help="Model of your own that words were enrolled under.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace words of the same name.")] = False,
    backend: Backend = "torch",
) -> Call:
    """Take over the words of a bundle, all of them or none."""
    return deferred("words", "import_words", file=file, words=words, model=model, replace=replace, backend=backend)


@words.command("upgrade")
def words_upgrade(
    names: Annotated[list[str] | None, typer.Argument(metavar="WORD...", help="Words to learn anew [default: all].", show_default=False)] = None,
    words: Words = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME|FILE", help="Model to use [default: each word's own, as it is now].")] = None,
    backend: Backend = "torch",
) -> Call:
    """Learn words anew under another model, from the utterances that were kept."""
    return deferred("words", "upgrade_words", names=names or [], words=words, model=model, backend=backend)
