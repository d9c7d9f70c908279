from typing import Annotated

from fastapi import Depends, FastAPI

from realmint import AccessToken, ResourceServer
from realmint.fastapi import Guard

ISSUER = "http://127.0.0.1:5000/oauth2/realms/root"
guard = Guard(ResourceServer(issuer=ISSUER, audience=ISSUER))
app = FastAPI()
guard.protect(app, open_paths=["/healthz"])  # or guard.init_app(app), and only what asks for a token needs one


@app.get("/hello")
async def hello(token: Annotated[AccessToken, Depends(guard.require("write"))]) -> dict[str, str]:
    return {"hello": token.client_id}


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"up": True}
