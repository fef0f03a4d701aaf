// The outside judge: Go's own note and tlog packages open a checkpoint of ours and prove records from our tiles.
// Input, JSON on standard input: {"vkey", "notes": [older, newer], "tiles": folder, "records": [[index, leaf text], ...]}.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	Vkey    string   `json:"vkey"`
	Notes   []string `json:"notes"`
	Tiles   string   `json:"tiles"`
	Records []record `json:"records"`
}

type record struct {
	Index int64  `json:"index"`
	Leaf  string `json:"leaf"`
}

// reader serves our tlog-tiles folder to tlog, whose own paths carry the height as a first element.
type reader struct{ dir string }

func (r reader) Height() int { return 8 }

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		bytes, err := os.ReadFile(filepath.Join(r.dir, path))
		if err != nil {
			return nil, err
		}
		data[i] = bytes
	}
	return data, nil
}

func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}

func open(text string, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	must(err)
	var origin, root string
	var size int64
	_, err = fmt.Sscanf(opened.Text, "%s\n%d\n%s\n", &origin, &size, &root)
	must(err)
	if origin != verifier.Name() {
		must(fmt.Errorf("origin %q is not the signer %q", origin, verifier.Name()))
	}
	bytes, err := base64.StdEncoding.DecodeString(root)
	must(err)
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], bytes)
	return tree
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var in input
	must(json.NewDecoder(os.Stdin).Decode(&in))
	verifier, err := note.NewVerifier(in.Vkey)
	must(err)
	older, newer := open(in.Notes[0], verifier), open(in.Notes[1], verifier)
	hashes := tlog.TileHashReader(newer, reader{in.Tiles})
	for _, record := range in.Records {
		proof, err := tlog.ProveRecord(newer.N, record.Index, hashes)
		must(err)
		must(tlog.CheckRecord(proof, newer.N, newer.Hash, record.Index, tlog.RecordHash([]byte(record.Leaf))))
	}
	proof, err := tlog.ProveTree(newer.N, older.N, hashes)
	must(err)
	must(tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash))
	fmt.Printf("%d records and the consistency %d to %d hold\n", len(in.Records), older.N, newer.N)
}
