#include "bench/frame.h"

#include <string>

#include <gtest/gtest.h>

namespace bench {
namespace {

std::string message(std::uint32_t length, std::size_t bytes_sent, std::uint64_t sequence = 1) {
  std::string text(std::max(bytes_sent, header_bytes), '\0');
  encode(RequestHeader{.request_bytes = length, .response_bytes = 64, .sequence = sequence},
         text.data());
  text.resize(bytes_sent);
  return text;
}

FrameReader::State feed(FrameReader& reader, const std::string& text) {
  return reader.feed(text.data(), text.size());
}

TEST(Frame, TheHeaderIsLittleEndianInTheStatedOrder) {
  char out[header_bytes];
  encode(ReplyHeader{.response_bytes = 0x01020304, .server_id = 5, .sequence = 0x0a0b}, out);
  EXPECT_EQ(std::string(out, header_bytes),
            std::string("\x04\x03\x02\x01\x05\0\0\0\x0b\x0a\0\0\0\0\0\0", header_bytes));
}

TEST(FrameReader, ReadsAWholeMessageAtOnce) {
  FrameReader reader;
  EXPECT_EQ(feed(reader, message(64, 64, 77)), FrameReader::State::complete);
  EXPECT_EQ(reader.header<RequestHeader>().sequence, 77U);
  EXPECT_EQ(reader.header<RequestHeader>().response_bytes, 64U);
}

TEST(FrameReader, PutsAMessageTogetherFromAnyPieces) {
  const auto whole = message(40, 40, 99);
  for (std::size_t cut = 1; cut < whole.size(); ++cut) {
    for (std::size_t second = cut + 1; second <= whole.size(); ++second) {
      FrameReader reader;
      ASSERT_EQ(feed(reader, whole.substr(0, cut)), FrameReader::State::incomplete);
      if (second < whole.size()) {
        ASSERT_EQ(feed(reader, whole.substr(cut, second - cut)), FrameReader::State::incomplete);
        ASSERT_EQ(feed(reader, whole.substr(second)), FrameReader::State::complete);
      } else {
        ASSERT_EQ(feed(reader, whole.substr(cut)), FrameReader::State::complete);
      }
      ASSERT_EQ(reader.header<RequestHeader>().sequence, 99U);
    }
  }
}

TEST(FrameReader, ReadsTheNextMessageAfterAReset) {
  FrameReader reader;
  ASSERT_EQ(feed(reader, message(16, 16, 1)), FrameReader::State::complete);
  reader.reset();
  ASSERT_EQ(feed(reader, message(20, 20, 2)), FrameReader::State::complete);
  EXPECT_EQ(reader.header<RequestHeader>().sequence, 2U);
}

TEST(FrameReader, RefusesBytesBeyondTheMessage) {
  FrameReader reader;
  EXPECT_EQ(feed(reader, message(16, 17)), FrameReader::State::malformed);
}

TEST(FrameReader, RefusesImpossibleLengths) {
  for (const std::uint32_t length :
       {std::uint32_t{0}, std::uint32_t{15}, static_cast<std::uint32_t>(max_message_bytes + 1),
        ~std::uint32_t{0}}) {
    FrameReader reader;
    EXPECT_EQ(feed(reader, message(length, 16)), FrameReader::State::malformed) << length;
  }
}

}  // namespace
}  // namespace bench
