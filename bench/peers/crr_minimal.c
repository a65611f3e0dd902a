// The plainest TCP_CRR there is, as the yardstick of ours: blocking calls, one connection after
// another, nothing checked that can be left unchecked. The client closes first, as ours does.
//   crr_minimal server PORT              until killed; prints "listening" once it accepts
//   crr_minimal client PORT BYTES MS     prints p50 of connect(2)-to-reply in ns, and the count
// Everything on 127.0.0.1, or on the address in CRR_ADDRESS.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most_bytes = 65536, most_samples = 10000000 };

static char buffer[most_bytes];

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct sockaddr_in address_of(const char* port) {
  const char* text = getenv("CRR_ADDRESS");
  struct sockaddr_in address;
  memset(&address, 0, sizeof(address));
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)atoi(port));
  inet_pton(AF_INET, text ? text : "127.0.0.1", &address.sin_addr);
  return address;
}

static void fail(const char* what) {
  perror(what);
  exit(2);
}

// The client's message states nothing: both sides send what the other's last recv(2) returned.
static _Noreturn void serve(const char* port) {
  const struct sockaddr_in address = address_of(port);
  const int one = 1;
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(listener, (const struct sockaddr*)&address, sizeof(address)) < 0) fail("bind");
  if (listen(listener, 4096) < 0) fail("listen");
  puts("listening");
  fflush(stdout);
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) fail("accept");
    const ssize_t size = recv(fd, buffer, sizeof(buffer), 0);
    if (size > 0 && send(fd, buffer, (size_t)size, MSG_NOSIGNAL) == size) {
      recv(fd, buffer, sizeof(buffer), 0);
    }
    close(fd);
  }
}

static int by_value(const void* a, const void* b) {
  const int32_t left = *(const int32_t*)a;
  const int32_t right = *(const int32_t*)b;
  return (left > right) - (left < right);
}

static int dial(const char* port, size_t bytes, int64_t ms) {
  const struct sockaddr_in address = address_of(port);
  int32_t* samples = malloc(sizeof(*samples) * most_samples);
  if (!samples || bytes > sizeof(buffer)) fail("memory");
  size_t count = 0;
  const int64_t begin = now_ns() + 50 * 1000000;  // as long a warm-up as ours
  const int64_t end = begin + ms * 1000000;
  int64_t replied = 0;
  while (replied < end && count < most_samples) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int64_t begun = now_ns();
    if (connect(fd, (const struct sockaddr*)&address, sizeof(address)) < 0) fail("connect");
    if (send(fd, buffer, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) fail("send");
    if (recv(fd, buffer, sizeof(buffer), 0) != (ssize_t)bytes) fail("recv");
    replied = now_ns();
    close(fd);
    if (replied >= begin) samples[count++] = (int32_t)(replied - begun);
  }
  qsort(samples, count, sizeof(*samples), by_value);
  printf("{\"p50_ns\":%d,\"requests\":%zu}\n", count ? samples[count / 2] : 0, count);
  free(samples);
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "server") == 0) serve(argv[2]);
  if (argc == 5 && strcmp(argv[1], "client") == 0) {
    return dial(argv[2], (size_t)atoi(argv[3]), atoll(argv[4]));
  }
  fputs("usage: crr_minimal server PORT | client PORT BYTES MS\n", stderr);
  return 2;
}
