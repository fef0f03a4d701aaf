// The outside judge: Go's own note and tlog packages open a checkpoint of ours and prove records from our tiles.
// Input, JSON on standard input: {"vkey", "notes": [older, newer], "tiles": folder, "records": [[index, leaf text], ...]},
// or, with "proofs" and "trees" (hashes in base64) in place of tiles: those that somebody else made are checked,
// or, with "url" and "token" in place of tiles and the newer note: all of it is fetched from a running log, its entries too.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	URL     string   `json:"url"`
	Token   string   `json:"token"`
	Proofs  []proof  `json:"proofs"`
	Trees   []growth `json:"trees"`
}

// proof is the path of a record under the note of that number; growth that one note's log is the beginning of another's.
type proof struct {
	record
	Note int         `json:"note"`
	Path []tlog.Hash `json:"path"`
}

type growth struct {
	Older int         `json:"older"`
	Newer int         `json:"newer"`
	Path  []tlog.Hash `json:"path"`
}

type record struct {
	Index int64  `json:"index"`
	Leaf  string `json:"leaf"`
}

// fetcher reads a log over HTTP as https://c2sp.org/tlog-tiles says, with nothing but its prefix and a token.
// Tiles are kept, as they may be.
type fetcher struct {
	url, token string
	kept       map[string][]byte
}

func (f fetcher) get(path string) []byte {
	request, err := http.NewRequest("GET", f.url+"/"+path, nil)
	must(err)
	request.Header.Set("Authorization", "Bearer "+f.token)
	response, err := http.DefaultClient.Do(request)
	must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(err)
	if response.StatusCode != 200 {
		must(fmt.Errorf("%s: %s", path, response.Status))
	}
	if path != "checkpoint" && !strings.Contains(response.Header.Get("Cache-Control"), "immutable") {
		must(fmt.Errorf("%s may not be cached: %q", path, response.Header.Get("Cache-Control")))
	}
	return body
}

func (f fetcher) Height() int { return 8 }

func (f fetcher) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		if f.kept[path] == nil {
			f.kept[path] = f.get(path)
		}
		data[i] = f.kept[path]
	}
	return data, nil
}

func (f fetcher) SaveTiles([]tlog.Tile, [][]byte) {}

// entries reads all entry bundles of a log of n entries.
func (f fetcher) entries(n int64) [][]byte {
	var all [][]byte
	for at := int64(0); at < n; at += 256 {
		width := min(256, n-at)
		tile := tlog.Tile{H: 8, L: 0, N: at / 256, W: int(width)}
		bundle := f.get("tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/0/"))
		for i := int64(0); i < width; i++ {
			size := int(bundle[0])<<8 | int(bundle[1])
			all = append(all, bundle[2:2+size])
			bundle = bundle[2+size:]
		}
		if len(bundle) > 0 {
			must(fmt.Errorf("%d bytes behind the last entry of a bundle", len(bundle)))
		}
	}
	return all
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

// given checks proofs that somebody else made.
func given(in input, verifier note.Verifier) {
	var trees []tlog.Tree
	for _, text := range in.Notes {
		trees = append(trees, open(text, verifier))
	}
	for _, one := range in.Proofs {
		under := trees[one.Note]
		must(tlog.CheckRecord(one.Path, under.N, under.Hash, one.Index, tlog.RecordHash([]byte(one.Leaf))))
	}
	for _, one := range in.Trees {
		older, newer := trees[one.Older], trees[one.Newer]
		must(tlog.CheckTree(one.Path, newer.N, newer.Hash, older.N, older.Hash))
	}
	fmt.Printf("%d proofs and %d consistencies hold\n", len(in.Proofs), len(in.Trees))
}

func main() {
	var in input
	must(json.NewDecoder(os.Stdin).Decode(&in))
	verifier, err := note.NewVerifier(in.Vkey)
	must(err)
	if len(in.Proofs) > 0 {
		given(in, verifier)
		return
	}
	var tiles tlog.TileReader = reader{in.Tiles}
	if in.URL != "" {
		log := fetcher{in.URL, in.Token, map[string][]byte{}}
		tiles = log
		in.Notes = append(in.Notes[:1], string(log.get("checkpoint")))
		for i, entry := range log.entries(open(in.Notes[1], verifier).N) {
			in.Records = append(in.Records, record{int64(i), string(entry)})
		}
	}
	older, newer := open(in.Notes[0], verifier), open(in.Notes[1], verifier)
	hashes := tlog.TileHashReader(newer, tiles)
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
