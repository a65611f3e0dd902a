// The reader of HTTP messages against the rules of RFC 9112 and RFC 9110.
#include "bench/http_parser.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace bench {
namespace {

using Reply = HttpReplyReader;
using Request = HttpRequestReader;

// Feeds everything in pieces of `step` bytes; how many were taken.
template <typename Reader>
std::size_t feed(Reader& reader, std::string_view text, std::size_t step) {
  std::size_t taken = 0;
  while (taken < text.size() && reader.state() == Reader::State::incomplete) {
    const auto piece = text.substr(taken, step);
    taken += reader.feed(piece.data(), piece.size());
  }
  return taken;
}

template <typename Reader>
Reader read(std::string_view text) {
  Reader reader;
  feed(reader, text, text.size());
  return reader;
}

Reply::State reply_state(std::string_view text) { return read<Reply>(text).state(); }
Request::State request_state(std::string_view text) { return read<Request>(text).state(); }

std::string reply_with(std::string_view fields, std::string_view body = "") {
  return fmt::format("HTTP/1.1 200 OK\r\n{}\r\n{}", fields, body);
}
std::string request_with(std::string_view fields, std::string_view body = "") {
  return fmt::format("POST /64 HTTP/1.1\r\nHost: a\r\n{}\r\n{}", fields, body);
}

constexpr std::string_view by_length = "Content-Length: 5\r\n";
constexpr std::string_view by_chunks = "Transfer-Encoding: chunked\r\n";

// ---- replies: what is framed how
// -------------------------------------------------------------------

TEST(HttpReply, ALengthFramesTheBody) {
  const auto reader = read<Reply>(reply_with(by_length, "hello"));
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_EQ(reader.head().status, 200);
  EXPECT_EQ(reader.body_bytes(), 5U);
  EXPECT_TRUE(reader.head().persistent());
  EXPECT_EQ(reply_state(reply_with(by_length, "hell")), Reply::State::incomplete);
}

TEST(HttpReply, TakesNothingBeyondItsEnd) {
  const auto whole = reply_with(by_length, "hello");
  Reply reader;
  EXPECT_EQ(feed(reader, whole + "HTTP/1.1 ", 4096), whole.size());
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_EQ(reader.feed("x", 1), 0U);
}

TEST(HttpReply, ChunksFrameTheBodyWhateverTheirExtensions) {
  const auto reader = read<Reply>(
      reply_with(by_chunks, "5\r\nhello\r\n00A;name=value;q=\"a b\" \r\n0123456789\r\n0\r\n\r\n"));
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_EQ(reader.body_bytes(), 15U);
  EXPECT_TRUE(reader.head().persistent());
}

TEST(HttpReply, TrailersEndAChunkedBodyAndFrameNothing) {
  const auto whole = reply_with(by_chunks, "1\r\nx\r\n0\r\nContent-Length: 7\r\nSum: 1\r\n\r\n");
  Reply reader;
  EXPECT_EQ(feed(reader, whole + "1234567", 4096), whole.size());
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_FALSE(reader.head().content_length);
  EXPECT_EQ(reply_state(reply_with(by_chunks, "0\r\n folded: 1\r\n\r\n")), Reply::State::malformed);
}

TEST(HttpReply, ChunksThatAreNoneAreRefused) {
  for (const std::string_view body :
       {"\r\n", "x\r\n", " 5\r\nhello\r\n", "5\r\nhelloX\r\n", "5\r\nhello0\r\n", "-1\r\n",
        "0x5\r\nhello\r\n", "5\nhello\r\n", "10000000000000000\r\n", "fffffffff\r\n",
        "5;a=\x01\r\nhello\r\n"}) {
    EXPECT_EQ(reply_state(reply_with(by_chunks, body)), Reply::State::malformed) << body;
  }
}

TEST(HttpReply, NeitherLengthNorChunksEndsWithTheConnection) {
  auto reader = read<Reply>(reply_with("Server: a\r\n", "some text"));
  EXPECT_EQ(reader.state(), Reply::State::incomplete);
  EXPECT_FALSE(reader.head().persistent());
  reader.end();
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_EQ(reader.body_bytes(), 9U);
}

TEST(HttpReply, ACodingOtherThanChunkedAtTheEndDoesToo) {
  auto reader = read<Reply>(reply_with("Transfer-Encoding: chunked, gzip\r\n", "5\r\n"));
  EXPECT_EQ(reader.state(), Reply::State::incomplete);
  reader.end();
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_EQ(reader.body_bytes(), 3U);
  EXPECT_EQ(reply_state(reply_with("Transfer-Encoding: gzip, Chunked\r\n", "1\r\nx\r\n0\r\n\r\n")),
            Reply::State::complete);
}

TEST(HttpReply, TheConnectionsEndCompletesNothingElse) {
  for (const auto& text : {reply_with(by_length, "hell"), reply_with(by_chunks, "5\r\nhel"),
                           std::string("HTTP/1.1 200 OK\r\nServer: a\r\n"), std::string()}) {
    auto reader = read<Reply>(text);
    reader.end();
    EXPECT_EQ(reader.state(), Reply::State::incomplete) << text;
  }
}

TEST(HttpReply, SomeStatusesHaveNoBodyWhateverTheirFieldsSay) {
  for (const int status : {204, 304}) {
    const auto head = fmt::format("HTTP/1.1 {} X\r\nContent-Length: 5\r\n\r\n", status);
    Reply reader;
    EXPECT_EQ(feed(reader, head + "hello", 4096), head.size());
    EXPECT_EQ(reader.state(), Reply::State::complete);
    EXPECT_EQ(reader.head().status, status);
    EXPECT_EQ(reader.body_bytes(), 0U);
  }
}

TEST(HttpReply, InterimRepliesArePassedOver) {
  const auto reader = read<Reply>(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nConnection: close\r\n"
      "Content-Length: 9\r\n\r\n" +
      reply_with(by_length, "hello"));
  EXPECT_EQ(reader.state(), Reply::State::complete);
  EXPECT_EQ(reader.head().status, 200);
  EXPECT_EQ(reader.body_bytes(), 5U);
  EXPECT_FALSE(reader.head().close);
  EXPECT_EQ(reply_state("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Reply::State::malformed);
}

TEST(HttpReply, InterimRepliesDoNotGoOnForever) {
  Reply reader;
  std::size_t taken = 0;
  const std::string_view again = "HTTP/1.1 100 Continue\r\n\r\n";
  while (reader.state() == Reply::State::incomplete) taken += feed(reader, again, again.size());
  EXPECT_EQ(reader.state(), Reply::State::malformed);
  EXPECT_LE(taken, max_http_head_bytes + again.size());
}

TEST(HttpReply, StatusLinesThatAreNoneAreRefused) {
  for (const std::string_view line :
       {"HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 X", "HTTP/1.1 600 X", "HTTP/1.1  200",
        "HTTP/2.0 200 OK", "HTTP/1.1200 OK", "http/1.1 200 OK", "HTTP/1.10 200 OK", "ICY 200 OK",
        " HTTP/1.1 200 OK", "", "HTTP/1.1 200OK", "HTTP/1.1 200 O\x01K", "HTTP/1.1 2 0 OK"}) {
    EXPECT_EQ(reply_state(fmt::format("{}\r\n", line)), Reply::State::malformed) << line;
  }
  for (const std::string_view line : {"HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200 Any Thing"}) {
    EXPECT_EQ(reply_state(fmt::format("{}\r\nContent-Length: 0\r\n\r\n", line)),
              Reply::State::complete)
        << line;
  }
}

TEST(HttpReply, WhetherTheConnectionStaysIsAMatterOfVersionAndField) {
  const auto persistent = [](std::string_view version, std::string_view fields) {
    return read<Reply>(
               fmt::format("HTTP/{} 200 OK\r\nContent-Length: 0\r\n{}\r\n", version, fields))
        .head()
        .persistent();
  };
  EXPECT_TRUE(persistent("1.1", ""));
  EXPECT_FALSE(persistent("1.0", ""));
  EXPECT_TRUE(persistent("1.0", "Connection: keep-alive\r\n"));
  EXPECT_TRUE(persistent("1.2", ""));
  EXPECT_FALSE(persistent("1.1", "CONNECTION:CLOSE\r\n"));
  EXPECT_FALSE(persistent("1.1", "Connection: upgrade , \t close\r\n"));
  EXPECT_FALSE(persistent("1.0", "Connection: keep-alive, close\r\n"));
  EXPECT_TRUE(persistent("1.1", "Connection: closed\r\n"));
}

// ---- fields
// ----------------------------------------------------------------------------------------

TEST(HttpFields, NamesHaveNoCaseAndValuesNoBlanksAround) {
  for (const std::string_view field :
       {"content-length:5", "CONTENT-LENGTH: \t 5 \t", "Content-Length: 5", "cOnTeNt-LeNgTh:5"}) {
    EXPECT_EQ(reply_state(reply_with(fmt::format("{}\r\n", field), "hello")),
              Reply::State::complete)
        << field;
  }
}

TEST(HttpFields, WhatIsNoFieldIsRefused) {
  for (const std::string_view field :
       {"Content-Length : 5", " folded: 5", "\tfolded", "no colon", ": empty", "a b: c", "na(me: 1",
        "A: \x01", "A: 12345678\x02z", "A: 12345678901234567\x7f", "A: 1\r2"}) {
    EXPECT_EQ(reply_state(reply_with(fmt::format("A: 1\r\n{}\r\n", field))),
              Reply::State::malformed)
        << field;
  }
  const std::string with_nul("A: 1234567\0\r\n", 13);
  EXPECT_EQ(reply_state(reply_with(with_nul)), Reply::State::malformed);
  EXPECT_EQ(reply_state(reply_with("A: caf\xc3\xa9 12345678 \t x\r\nB:\r\nContent-Length: 0\r\n")),
            Reply::State::complete);
}

TEST(HttpFields, ALineFeedAloneEndsNoLine) {
  EXPECT_EQ(reply_state("HTTP/1.1 200 OK\n"), Reply::State::malformed);
  EXPECT_EQ(reply_state("HTTP/1.1 200 OK\r\nA: 1\n"), Reply::State::malformed);
  EXPECT_EQ(reply_state("HTTP/1.1 200 OK\r\nA: 1\r\n\n"), Reply::State::malformed);
}

TEST(HttpFields, LengthsMustBeNumbersThatAgree) {
  for (const std::string_view fields : {"Content-Length: 5\r\nContent-Length: 5\r\n",
                                        "Content-Length: 5, 5\r\n", "Content-Length: 005\r\n"}) {
    EXPECT_EQ(reply_state(reply_with(fields, "hello")), Reply::State::complete) << fields;
  }
  for (const std::string_view fields :
       {"Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n", "Content-Length: -5\r\n", "Content-Length: 5a\r\n",
        "Content-Length: 0x5\r\n", "Content-Length:\r\n", "Content-Length: ,\r\n",
        "Content-Length: 5 5\r\n", "Content-Length: 18446744073709551617\r\n"}) {
    EXPECT_EQ(reply_state(reply_with(fields, "hello")), Reply::State::malformed) << fields;
  }
}

TEST(HttpFields, ALengthBesideACodingIsRefused) {
  for (const auto& fields : {std::string(by_length) + std::string(by_chunks),
                             std::string(by_chunks) + std::string(by_length)}) {
    EXPECT_EQ(reply_state(reply_with(fields)), Reply::State::malformed);
    EXPECT_EQ(request_state(request_with(fields)), Request::State::malformed);
  }
  // A coding HTTP/1.0 does not know, and one applied twice.
  EXPECT_EQ(reply_state(fmt::format("HTTP/1.0 200 OK\r\n{}\r\n", by_chunks)),
            Reply::State::malformed);
  EXPECT_EQ(reply_state(reply_with("Transfer-Encoding: chunked, chunked\r\n")),
            Reply::State::malformed);
}

TEST(HttpFields, OursSayWhoAnswersWhat) {
  const auto reader = read<Reply>(
      reply_with("stackbench-id: 4294967295\r\nStackbench-Seq: 00aBcDef\r\nContent-Length: 0\r\n"));
  EXPECT_EQ(reader.head().server_id, 4294967295U);
  EXPECT_EQ(reader.head().sequence, 0xabcdefU);
  for (const std::string_view field :
       {"Stackbench-Id: 4294967296", "Stackbench-Id: web", "Stackbench-Seq: 12g", "Stackbench-Seq:",
        "Stackbench-Id: 1\r\nStackbench-Id: 1", "Stackbench-Seq: 1\r\nStackbench-Seq: 1"}) {
    EXPECT_EQ(reply_state(reply_with(fmt::format("{}\r\n", field))), Reply::State::malformed)
        << field;
  }
}

// ---- bounds
// ----------------------------------------------------------------------------------------

TEST(HttpBounds, AHeadHasALongestLength) {
  const auto head_of = [](std::size_t size) {
    const std::string_view start = "HTTP/1.1 204 X\r\n";
    return fmt::format("{}A: {}\r\n\r\n", start, std::string(size - start.size() - 7, 'a'));
  };
  ASSERT_EQ(head_of(max_http_head_bytes).size(), max_http_head_bytes);
  EXPECT_EQ(reply_state(head_of(max_http_head_bytes)), Reply::State::complete);
  EXPECT_EQ(reply_state(head_of(max_http_head_bytes + 1)), Reply::State::malformed);
  // Many short lines are as long as a long one, and what never ends is not waited for.
  std::string many = "HTTP/1.1 200 OK\r\n";
  while (many.size() <= max_http_head_bytes) many += "A: 1\r\n";
  EXPECT_EQ(reply_state(many), Reply::State::malformed);
  EXPECT_EQ(reply_state(std::string(max_http_head_bytes, 'H')), Reply::State::malformed);
  std::string trailers;
  while (trailers.size() <= max_http_head_bytes) trailers += "A: 1\r\n";
  EXPECT_EQ(reply_state(reply_with(by_chunks, "0\r\n" + trailers)), Reply::State::malformed);
}

TEST(HttpBounds, AChunksLineHasALongestLength) {
  const auto line_of = [](std::size_t size) { return "1;" + std::string(size - 4, 'x') + "\r\n"; };
  EXPECT_EQ(reply_state(reply_with(by_chunks, line_of(max_chunk_line_bytes))),
            Reply::State::incomplete);
  EXPECT_EQ(reply_state(reply_with(by_chunks, line_of(max_chunk_line_bytes + 1))),
            Reply::State::malformed);
}

TEST(HttpBounds, ABodyHasALongestLength) {
  EXPECT_EQ(reply_state(reply_with(fmt::format("Content-Length: {}\r\n", max_message_bytes))),
            Reply::State::incomplete);
  EXPECT_EQ(reply_state(reply_with(fmt::format("Content-Length: {}\r\n", max_message_bytes + 1))),
            Reply::State::malformed);
  EXPECT_EQ(reply_state(reply_with(by_chunks, fmt::format("{:x}\r\n", max_message_bytes + 1))),
            Reply::State::malformed);
  auto reader = read<Reply>(reply_with(""));
  const std::string piece(std::size_t{1} << 20, 'x');
  for (std::size_t i = 0; i < max_message_bytes / piece.size(); ++i) {
    ASSERT_EQ(feed(reader, piece, piece.size()), piece.size());
    ASSERT_EQ(reader.state(), Reply::State::incomplete);
  }
  feed(reader, "x", 1);
  EXPECT_EQ(reader.state(), Reply::State::malformed);
}

// ---- requests
// --------------------------------------------------------------------------------------

TEST(HttpRequest, AsksForABodyByItsPath) {
  const auto reader = read<Request>("GET /64 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(reader.state(), Request::State::complete);
  EXPECT_EQ(reader.head().status, 200);
  EXPECT_EQ(reader.head().asked_bytes, 64U);
  EXPECT_TRUE(reader.head().host);
  EXPECT_TRUE(reader.head().persistent());
  EXPECT_FALSE(reader.head().expects);
}

TEST(HttpRequest, HasABodyWhereItSaysSo) {
  EXPECT_EQ(request_state(request_with(by_length, "hell")), Request::State::incomplete);
  EXPECT_EQ(read<Request>(request_with(by_length, "hello")).body_bytes(), 5U);
  EXPECT_EQ(read<Request>(request_with(by_chunks, "2\r\nhe\r\n0\r\n\r\n")).body_bytes(), 2U);
  EXPECT_EQ(request_state(request_with("")), Request::State::complete);
  EXPECT_EQ(request_state(request_with("Transfer-Encoding: chunked, gzip\r\n")),
            Request::State::malformed);
  const auto coded = read<Request>(request_with("Transfer-Encoding: gzip, chunked\r\n"));
  EXPECT_EQ(coded.state(), Request::State::malformed);
  EXPECT_EQ(coded.refusal(), 501);
}

TEST(HttpRequest, WhatOurServerDoesNotHaveIsStillAMessage) {
  const auto status = [](std::string_view line) {
    const auto reader = read<Request>(fmt::format("{}\r\nHost: a\r\n\r\n", line));
    EXPECT_EQ(reader.state(), Request::State::complete) << line;
    return reader.head().status;
  };
  EXPECT_EQ(status("GET /0 HTTP/1.1"), 200);
  EXPECT_EQ(status("POST /67108864 HTTP/1.0"), 200);
  EXPECT_EQ(status("GET /67108865 HTTP/1.1"), 404);
  EXPECT_EQ(status("GET / HTTP/1.1"), 404);
  EXPECT_EQ(status("GET /admin HTTP/1.1"), 404);
  EXPECT_EQ(status("GET /admin/64 HTTP/1.1"), 200);
  EXPECT_EQ(status("GET /64?x=1 HTTP/1.1"), 404);
  EXPECT_EQ(status("GET http://a/64 HTTP/1.1"), 404);
  EXPECT_EQ(status("DELETE /64 HTTP/1.1"), 405);
  EXPECT_EQ(status("get /64 HTTP/1.1"), 405);
}

TEST(HttpRequest, RequestLinesThatAreNoneAreRefused) {
  const auto refusal = [](std::string_view text) {
    const auto reader = read<Request>(text);
    EXPECT_EQ(reader.state(), Request::State::malformed) << text;
    return reader.refusal();
  };
  EXPECT_EQ(refusal("GET /64\r\n"), 400);
  EXPECT_EQ(refusal("GET  HTTP/1.1\r\n"), 400);
  EXPECT_EQ(refusal("GET /6 4 HTTP/1.1\r\n"), 400);
  EXPECT_EQ(refusal(" GET /64 HTTP/1.1\r\n"), 400);
  EXPECT_EQ(refusal("G(T /64 HTTP/1.1\r\n"), 400);
  EXPECT_EQ(refusal("GET /6\x7f HTTP/1.1\r\n"), 400);
  EXPECT_EQ(refusal("GET /64 http/1.1\r\n"), 400);
  EXPECT_EQ(refusal("PRI * HTTP/2.0\r\n"), 505);
  EXPECT_EQ(refusal("GET /" + std::string(max_http_head_bytes, '6')), 414);
  EXPECT_EQ(refusal("GET /6 HTTP/1.1\r\nA: " + std::string(max_http_head_bytes, '6')), 431);
  EXPECT_EQ(refusal(request_with("Content-Length: 99999999999\r\n")), 413);
  EXPECT_EQ(refusal(request_with("Host: b\r\n")), 400);
}

TEST(HttpRequest, EmptyLinesBeforeItArePassedOver) {
  EXPECT_EQ(request_state("\r\n\r\n" + request_with("")), Request::State::complete);
  std::string endless;
  while (endless.size() <= max_http_head_bytes) endless += "\r\n";
  EXPECT_EQ(request_state(endless), Request::State::malformed);
}

TEST(HttpRequest, TheNextOneBeginsWhereThisEnds) {
  const auto first = request_with(by_length, "hello");
  const auto text = first + "GET /7 HTTP/1.0\r\n\r\n";
  Request reader;
  const auto taken = feed(reader, text, text.size());
  ASSERT_EQ(taken, first.size());
  reader.reset();
  EXPECT_FALSE(reader.begun());
  EXPECT_EQ(feed(reader, std::string_view(text).substr(taken), 4096), text.size() - taken);
  EXPECT_EQ(reader.state(), Request::State::complete);
  EXPECT_EQ(reader.head().asked_bytes, 7U);
  EXPECT_FALSE(reader.head().host);
}

// ---- pieces
// ----------------------------------------------------------------------------------------

TEST(HttpPieces, WhereTheyAreCutChangesNothing) {
  const std::vector<std::string> texts{
      reply_with("Content-Length: 5\r\nStackbench-Id: 7\r\nStackbench-Seq: 2a\r\n", "hello"),
      reply_with(by_chunks, "5;a=b\r\nhello\r\n0\r\nSum: 1\r\n\r\n"),
      "HTTP/1.1 100 Continue\r\n\r\n" + reply_with(by_length, "hello"),
      reply_with("Content-Length : 5\r\n", "hello"),
      reply_with(by_chunks, "5\r\nhelloX\r\n"),
      reply_with("", "until the end")};
  for (const auto& text : texts) {
    auto whole = read<Reply>(text);
    for (std::size_t step = 1; step < text.size(); ++step) {
      Reply pieces;
      feed(pieces, text, step);
      EXPECT_EQ(pieces.state(), whole.state()) << text << " in pieces of " << step;
      EXPECT_EQ(pieces.body_bytes(), whole.body_bytes());
      EXPECT_EQ(pieces.head().server_id, whole.head().server_id);
      EXPECT_EQ(pieces.head().sequence, whole.head().sequence);
    }
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      Reply pieces;
      auto taken = pieces.feed(text.data(), cut);
      taken += pieces.feed(text.data() + taken, text.size() - taken);
      EXPECT_EQ(pieces.state(), whole.state()) << text << " cut at " << cut;
      EXPECT_EQ(pieces.body_bytes(), whole.body_bytes());
    }
  }
}

}  // namespace
}  // namespace bench
