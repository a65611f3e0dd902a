#include "probes/wire/byte_stream.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "probes/wire/testing/conversation.h"

namespace probes {
namespace {

using testing::bytes_of;

struct Recorded final : ByteSink {
  void bytes(base::ByteSpan more) override { text.append(more.begin(), more.end()); }
  void again(base::ByteSpan known) override { repeated.append(known.begin(), known.end()); }
  void missing(std::uint64_t size) override {
    lost += size;
    text += '|';
  }
  std::string text;
  std::string repeated;
  std::uint64_t lost = 0;
};

struct ByteStreamTest : ::testing::Test {
  void take(std::uint32_t sequence, std::string_view text, int flags = base::tcp_ack) {
    stream.take({.sequence = sequence,
                 .flags = static_cast<std::uint8_t>(flags),
                 .payload = bytes_of(text)},
                sink);
  }

  std::size_t room = 64;
  Recorded sink;
  ByteStream stream{room};
};

TEST_F(ByteStreamTest, HandsOutBytesInOrderEachOnce) {
  take(99, "", base::tcp_syn);
  take(103, "def");
  take(100, "abc");
  take(100, "abc");
  take(106, "g");
  EXPECT_EQ(sink.text, "abcdefg");
  EXPECT_EQ(sink.repeated, "abc");
  EXPECT_EQ(sink.lost, 0U);
  EXPECT_FALSE(stream.begun_midway());
  EXPECT_EQ(room, 64U);
}

TEST_F(ByteStreamTest, SequenceNumbersWrap) {
  take(0xfffffffd, "", base::tcp_syn);
  take(2, "ef");
  take(0xfffffffe, "abcd");
  EXPECT_EQ(sink.text, "abcdef");
}

TEST_F(ByteStreamTest, OverlapsAreHandedOutOnceInOrderAndOnceApart) {
  take(0, "", base::tcp_syn);
  take(4, "def");
  take(6, "fgh");
  take(1, "abcD");  // the first copy that is next wins
  EXPECT_EQ(sink.text, "abcDefgh");
  EXPECT_EQ(sink.repeated, "df");
  take(3, "cDefghij");
  EXPECT_EQ(sink.text, "abcDefghij");
}

TEST_F(ByteStreamTest, WithoutItsSynItBeginsWhereItIsMet) {
  take(500, "", base::tcp_ack);
  EXPECT_FALSE(stream.began());
  take(500, "abc");
  EXPECT_EQ(sink.text, "abc");
  EXPECT_TRUE(stream.begun_midway());
}

TEST_F(ByteStreamTest, WhatNeverComesIsMissing) {
  take(0, "", base::tcp_syn);
  take(1, "ab");
  take(6, "fg");
  take(9, "i");
  stream.finish(sink);
  EXPECT_EQ(sink.text, "ab|fg|i");
  EXPECT_EQ(sink.lost, 4U);
  EXPECT_EQ(room, 64U);
}

TEST_F(ByteStreamTest, AnEndThatWasNotReachedIsMissing) {
  take(0, "", base::tcp_syn);
  take(1, "ab");
  take(6, "", base::tcp_fin);
  EXPECT_FALSE(stream.whole());
  stream.finish(sink);
  EXPECT_EQ(sink.lost, 3U);
}

TEST_F(ByteStreamTest, IsWholeWithItsFin) {
  take(0, "", base::tcp_syn);
  take(3, "c", base::tcp_fin);
  EXPECT_FALSE(stream.whole());
  take(1, "ab");
  EXPECT_TRUE(stream.whole());
}

TEST_F(ByteStreamTest, WhatWaitsFillsNoMoreThanItsRoom) {
  take(0, "", base::tcp_syn);
  take(10, std::string(60, 'x'));
  EXPECT_EQ(room, 4U);
  take(80, std::string(50, 'y'));
  EXPECT_EQ(sink.text, "|" + std::string(60, 'x'));
  EXPECT_EQ(room, 14U);
  take(200, std::string(65, 'z'));  // more than there ever is room for
  EXPECT_EQ(sink.text,
            "|" + std::string(60, 'x') + "|" + std::string(50, 'y') + "|" + std::string(65, 'z'));
  EXPECT_EQ(room, 64U);
}

TEST(ByteStream, IsTheSameInWhateverOrderAndHoweverCut) {
  std::mt19937 random(7);
  std::string text;
  for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + i % 26);
  for (int round = 0; round < 200; ++round) {
    struct Piece {
      std::size_t at;
      std::size_t size;
    };
    std::vector<Piece> pieces;
    for (std::size_t at = 0; at < text.size();) {
      const auto size = std::min<std::size_t>(1 + random() % 40, text.size() - at);
      pieces.push_back({at, size});
      if (random() % 3 == 0) pieces.push_back({at, size});
      at += random() % 4 == 0 && size > 1 ? size / 2 : size;  // overlaps
    }
    std::ranges::shuffle(pieces, random);
    std::size_t room = 1 << 16;
    Recorded sink;
    {
      ByteStream stream(room);
      const std::uint32_t first = 0xffffff00;
      stream.take({.sequence = first - 1, .flags = base::tcp_syn}, sink);
      for (const auto& piece : pieces) {
        stream.take({.sequence = first + static_cast<std::uint32_t>(piece.at),
                     .flags = base::tcp_ack,
                     .payload = bytes_of(std::string_view(text).substr(piece.at, piece.size))},
                    sink);
      }
      stream.finish(sink);
    }
    EXPECT_EQ(sink.text, text);
    EXPECT_EQ(sink.lost, 0U);
    EXPECT_EQ(room, std::size_t{1} << 16);
  }
}

}  // namespace
}  // namespace probes
