package model

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// BlockType says what a content block is. Types other than the two named here
// are the provider's own and are carried, not understood.
type BlockType string

// The types this package understands.
const (
	BlockText      BlockType = "text"
	BlockReasoning BlockType = "reasoning"
)

// Block is one piece of a message's content.
type Block struct {
	Type BlockType
	// Text is the readable text of a text or reasoning block.
	Text string
	// Raw, when set, is the block exactly as the provider sent it. It wins
	// over Text when the block goes back to that provider and when it is
	// stored. For a reasoning block it is the signed original.
	Raw json.RawMessage
}

// Text makes a text block.
func Text(text string) Block { return Block{Type: BlockText, Text: text} }

// blockJSON is the stored form. Raw sits inside it instead of replacing it:
// a provider may use "text" for something that is not our text.
type blockJSON struct {
	Type BlockType       `json:"type"`
	Text string          `json:"text,omitempty"`
	Raw  json.RawMessage `json:"raw,omitempty"`
}

// MarshalJSON gives {"type":…,"text":…,"raw":…}. Callers that must keep raw
// byte for byte encode without HTML escaping, as [Encode] does.
func (b Block) MarshalJSON() ([]byte, error) {
	out, err := Encode(blockJSON(b))
	if err != nil {
		return nil, fmt.Errorf("encoding a %s block: %w", b.Type, err)
	}
	return out, nil
}

// UnmarshalJSON reads the form of [Block.MarshalJSON].
func (b *Block) UnmarshalJSON(data []byte) error {
	var in blockJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decoding a content block: %w", err)
	}
	if in.Type == "" {
		return fmt.Errorf("decoding a content block: type is required")
	}
	*b = Block(in)
	return nil
}

// Encode renders v as JSON without escaping <, > and &, so that verbatim parts
// keep their bytes (white space between tokens excepted).
func Encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
