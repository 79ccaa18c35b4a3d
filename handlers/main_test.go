package handlers_test

import (
	"testing"

	"github.com/heddle/heddle/internal/testweb"
)

func TestMain(m *testing.M) { testweb.Main(m) }
