"""A shop as FastAPI's manual writes one: OAuth2 with passwords and short-lived tokens, and sessions in cookies."""

import time

import jwt
from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.security import HTTPBasic, HTTPBasicCredentials, OAuth2PasswordBearer, OAuth2PasswordRequestForm
from starlette.middleware.sessions import SessionMiddleware

KEY = "a key of the application that is long enough"
LIFETIME = 2
app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=KEY, max_age=LIFETIME)
bearer = OAuth2PasswordBearer(tokenUrl="token")
basic = HTTPBasic()
counts = {"tokens": 0, "sessions": 0}


def check_password(user, password):
    if (user, password) != ("ada", "open sesame"):
        raise HTTPException(400, "wrong user or password")


@app.post("/token")
def token(form: OAuth2PasswordRequestForm = Depends()):
    check_password(form.username, form.password)
    counts["tokens"] += 1
    claims = {"sub": form.username, "exp": time.time() + LIFETIME, "jti": str(counts["tokens"])}
    return {"access_token": jwt.encode(claims, KEY, "HS256"), "token_type": "bearer"}


@app.get("/orders/{number}")
def order(number: int, token: str = Depends(bearer)):
    try:
        return {"number": number, "user": jwt.decode(token, KEY, ["HS256"])["sub"]}
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, str(error), {"WWW-Authenticate": "Bearer"})


@app.post("/login")
def login(request: Request, user: str = Form(), password: str = Form()):
    check_password(user, password)
    counts["sessions"] += 1
    request.session["user"] = user
    return Response(status_code=303, headers={"location": "/"})


@app.get("/basket/{number}")
def basket(number: int, request: Request):
    if request.session.get("user") != "ada":
        raise HTTPException(401, "no session")
    return {"number": number}


@app.get("/check")
def check(request: Request):
    """For a reverse proxy that asks whether a request may pass."""
    if request.session.get("user") != "ada":
        raise HTTPException(401, "no session")
    return Response(status_code=204)


@app.get("/basic")
def basic_user(credentials: HTTPBasicCredentials = Depends(basic)):
    if (credentials.username, credentials.password) != ("ada", "open sesame"):
        raise HTTPException(401, "wrong user or password")
    return {"user": credentials.username}


@app.get("/counts")
def count():
    return counts
