"""A notifier that posts a JSON document to the URL of an Airflow connection."""

from typing import Any

from airflow.sdk import BaseHook, BaseNotifier

from mtl_tasks.core.errors import ConfigError, SourceError

SECONDS = 10.0  # to connect, and to wait for an answer


class WebhookNotifier(BaseNotifier):
    """Posts a document. No error quotes the URL, which may hold a token.

    Parameters
    ----------
    connection
        Id of a connection of type http. Its `host` is the URL, or a host name with `schema` (http or https), and
        `port`. A login and password are sent as basic authentication, `headers` in `extra` as headers.
    document
        JSON-serializable.
    """

    def __init__(self, connection: str, document: dict[str, Any]) -> None:
        super().__init__()
        self.connection, self.document = connection, document

    def notify(self, context: Any) -> None:
        """Post the document; a redirect is not followed.

        Raises
        ------
        ConfigError
            If the connection has no URL.
        SourceError
            If the server cannot be reached or answers other than 2xx.
        """
        import httpx

        found = BaseHook.get_connection(self.connection)
        auth = (found.login, found.password or "") if found.login else None
        try:
            headers = found.extra_dejson.get("headers", {})
            answer = httpx.post(url_of(found), json=self.document, headers=headers, auth=auth, timeout=SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL, TypeError, ValueError) as error:  # messages may quote URL or headers
            raise SourceError(f"the request failed ({type(error).__name__})") from None
        if not answer.is_success:
            raise SourceError(f"the server answered {answer.status_code}")


def url_of(connection: Any) -> str:
    """Return the URL of a connection.

    Raises
    ------
    ConfigError
        If it has none.
    """
    host = connection.host or ""
    if "://" not in host:
        schema = connection.schema or "http"
        if not host or schema not in ("http", "https"):
            raise ConfigError("it has no URL: put the whole URL into its host")
        host = f"{schema}://{host}"
    return f"{host}:{connection.port}" if connection.port else str(host)
