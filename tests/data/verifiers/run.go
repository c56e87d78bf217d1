// Asks generated verifiers what they say of requests: the directory's `cases.json` in, one JSON line for each case out.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	// imports
)

type verifier func(body []byte, header http.Header, keys []string, now time.Time) error

var verifiers = map[string]verifier{
	// verifiers
}

func main() {
	text, err := os.ReadFile(os.Args[1] + "/cases.json")
	if err != nil {
		panic(err)
	}
	var all []struct {
		Name  string
		Cases []struct {
			Headers map[string]string
			Body    string
			Keys    []string
			Now     int64
		}
	}
	if err := json.Unmarshal(text, &all); err != nil {
		panic(err)
	}
	for _, one := range all {
		for at, wanted := range one.Cases {
			body, err := base64.StdEncoding.DecodeString(wanted.Body)
			if err != nil {
				panic(err)
			}
			header := http.Header{}
			for name, value := range wanted.Headers {
				header.Set(name, value)
			}
			row := map[string]any{"name": one.Name, "at": at, "why": nil}
			if err := verifiers[one.Name](body, header, wanted.Keys, time.Unix(wanted.Now, 0)); err != nil {
				row["why"] = err.Error()
			}
			line, err := json.Marshal(row)
			if err != nil {
				panic(err)
			}
			fmt.Println(string(line))
		}
	}
}
