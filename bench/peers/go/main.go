// The example server of zitadel/oidc with its example's storage in memory. Its service user gets JWTs, and with ALG=ES256
// its RSA key gives way to one of P-256.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

type store struct{ *storage.Storage }

type client struct{ op.Client }

func (client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (s store) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	found, err := s.Storage.ClientCredentials(ctx, id, secret)
	return client{found}, err
}

type key struct{ *ecdsa.PrivateKey }

func (key) ID() string                                  { return "key" }
func (key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k key) Key() any                                  { return k.PrivateKey }

type elliptical struct {
	store
	key key
}

func (s elliptical) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }

func main() {
	issuer := "http://127.0.0.1:" + os.Getenv("PORT") + "/"
	stored := store{storage.NewStorage(storage.NewUserStore(issuer))}
	var served exampleop.Storage = stored
	if os.Getenv("ALG") == "ES256" {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		served = elliptical{stored, key{private}}
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	router := exampleop.SetupServer(issuer, served, logger, false)
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), router))
}
