// Package secret keeps what must be read again and nobody else may read: it
// encrypts with keys made from the installation's own.
//
// Invariants: what was changed, or sealed for another purpose or thing, does not
// open; the same text sealed twice looks different each time.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSealed says that what is sealed can't be opened with this key: it was sealed
// with another one, about another thing, or was changed.
var ErrSealed = errors.New("sealed with another key, or changed")

// form is the first byte of what is sealed: AES-256-GCM, nonce before text.
const form = 1

// Box seals and opens for one purpose. Safe for concurrent use.
type Box struct{ aead cipher.AEAD }

// NewBox makes a box whose key follows from the installation's (HEDDLE_SECRET_KEY)
// and the purpose: boxes of other purposes can't open what it seals.
func NewBox(key []byte, purpose string) (*Box, error) {
	own, err := hkdf.Key(sha256.New, key, nil, "heddle "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return &Box{aead: aead}, nil
}

// Seal encrypts a text; about names what it belongs to, and is needed to open it.
func (b *Box) Seal(text []byte, about string) []byte {
	return b.aead.Seal([]byte{form}, nil, text, []byte(about))
}

// Open gives the text back, or [ErrSealed].
func (b *Box) Open(sealed []byte, about string) ([]byte, error) {
	if len(sealed) < 1 || sealed[0] != form {
		return nil, ErrSealed
	}
	text, err := b.aead.Open(nil, nil, sealed[1:], []byte(about))
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}
