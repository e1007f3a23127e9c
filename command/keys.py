"""`feeds keys`: who may ask the service what; and where a service without keys may listen."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.home import Home

if TYPE_CHECKING:
    from serving.keys import Key

app = typer.Typer(no_args_is_help=True, help="Who may ask the service what.")
ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="the shop's feeds.yaml")]
HomePath = Annotated[
    Path | None,
    typer.Option("--home", help="where everything is kept; default: .feeds beside the config"),
]
HERE = Path("feeds.yaml")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="who will use it, such as shop-server-2026-12")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read | write | admin; may be given often. Of a page: read and write"),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="for the JavaScript of the shop's pages: open to all")
    ] = False,
    days: Annotated[int | None, typer.Option(min=1, help="then it expires; default: never")] = None,
    config: ConfigPath = HERE,
    home: HomePath = None,
) -> None:
    """Make a key and show it, this once; workers know it within a second or two."""
    from command.show import console
    from serving.keys import add_key

    scopes: list[Any] = scope or (["read", "write"] if page else [])
    place = _home(config, home)
    token = add_key(place, name, scopes, page=page, days=days)
    if page and not _origins(config):
        console.print("it will be refused until the config names the shop's sites in "
                      "service.origins", style="yellow")  # fmt: skip
    console.print(f"the key {name}; it is shown this once, so keep it now:")
    typer.echo(token)  # alone on its line, and never wrapped


@app.command("list")
def list_keys(config: ConfigPath = HERE, home: HomePath = None) -> None:
    """Show which keys there are, and what they may."""
    from rich.table import Table

    from command.show import console
    from serving.keys import read_keys

    keys = read_keys(_home(config, home).keys)
    if not keys:
        console.print("there is no key; make one with `feeds keys add NAME --scope read`")
        return
    table = Table("name", "scopes", "of a page", "made", "expires")
    for one in keys:
        table.add_row(one.name, ", ".join(one.scopes), "yes" if one.page else "",
                      f"{one.made:%Y-%m-%d}", _expiry(one))  # fmt: skip
    console.print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="as `feeds keys list` has it")],
    config: ConfigPath = HERE,
    home: HomePath = None,
) -> None:
    """Take a key out of use; workers refuse it within a second or two."""
    from command.show import console
    from serving.keys import revoke_key

    left = revoke_key(_home(config, home), name)
    console.print(f"{name} is revoked; keys that are left: {left}")
    if not left:
        console.print("without any key nobody may ask; to do without keys again, remove "
                      "keys.json and start the service anew", style="yellow")  # fmt: skip


@app.command()
def links(
    rotate: Annotated[
        bool, typer.Option("--rotate", help="sign with a new key from the next mailing on")
    ] = False,
    config: ConfigPath = HERE,
    home: HomePath = None,
) -> None:
    """Show what links in mails are signed with, or change it; the keys themselves stay hidden."""
    from command.show import console
    from serving import link_keys

    place = _home(config, home)
    if rotate:
        link_keys.rotate(place)
        console.print("a new key signs from the next mailing on; workers know it at once")
    elif not place.link_keys.exists():
        console.print("no link was signed yet; the first mailing makes a key")
        return
    numbers = [str(one.number) for one in link_keys.link_keys(place)]
    console.print(f"links are signed with key {numbers[0]}")
    if len(numbers) > 1:
        console.print(f"links that are out and were signed with key {numbers[1]} work until the "
                      "next rotation, or until they are too old")  # fmt: skip
    console.print(f"back up {place.link_keys.name}: without it no link that is out works")


def open_to(home: Home, host: str, *, is_open: bool) -> str:
    """Whom a service on `host` answers as long as there is no key, as FEEDS_OPEN has it.

    "1": whoever comes; "here": programs of this machine; "0": nobody. Raises ValueError where it
    would have no key, would be reached from other machines, and nobody said `--open`.
    """
    from serving.keys import read_keys

    if is_open:
        return "1"
    if _is_this_machine(host):
        return "here"
    if not read_keys(home.keys):
        raise ValueError(
            f"without a key whoever reaches {host} could ask and tell anything; make one with "
            "`feeds keys add NAME --scope read`, or say --open if that is meant"
        )
    return "0"


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _home(config: Path, home: Path | None) -> Home:
    """The home; it must be there, else a misspelt path would get the key."""
    place = Home(home or config.parent / ".feeds")
    if not config.exists() and home is None:
        raise ValueError(f"there is no {config}; name the shop's feeds.yaml with --config")
    return place


def _origins(config: Path) -> list[str]:
    from features.config import load_config

    return load_config(config).service.origins if config.exists() else []


def _expiry(key: Key) -> str:
    if key.expires is None:
        return "never"
    return f"{key.expires:%Y-%m-%d}" + " (expired)" * (not key.lives(datetime.now(UTC)))
