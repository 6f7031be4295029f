// Writes every kernel, copy and fill of a CUDA program with its times: a library that the driver
// loads by CUDA_INJECTION64_PATH. At the program's end TRACE_OUT (kernels.tsv) holds a line each:
// begin and end in ns, the grid's blocks, the name.
#include <cupti.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;

struct Record {
  uint64_t begin, end;
  int64_t blocks;
  int name;
};

std::mutex mutex;
std::vector<Record> records;
std::map<std::string, int> names;

int IdOf(const std::string& name) {
  return names.emplace(name, static_cast<int>(names.size())).first->second;
}

void CUPTIAPI Requested(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI Completed(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto* k = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      records.push_back(
          {k->start, k->end, static_cast<int64_t>(k->gridX) * k->gridY * k->gridZ, IdOf(k->name)});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* m = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      records.push_back({m->start, m->end, 0, IdOf("[copy]")});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* m = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      records.push_back({m->start, m->end, 0, IdOf("[fill]")});
    }
  }
  std::free(buffer);
}

void Write() {
  cuptiActivityFlushAll(1);
  const std::lock_guard lock(mutex);
  const char* const path = std::getenv("TRACE_OUT");
  std::FILE* const file = std::fopen(path == nullptr ? "kernels.tsv" : path, "w");
  if (file == nullptr) return;
  std::sort(records.begin(), records.end(),
            [](const Record& a, const Record& b) { return a.begin < b.begin; });
  std::vector<const char*> text(names.size());
  for (const auto& [name, id] : names) text[static_cast<size_t>(id)] = name.c_str();
  const uint64_t zero = records.empty() ? 0 : records.front().begin;
  for (const Record& r : records) {
    std::fprintf(file, "%llu\t%llu\t%lld\t%s\n", static_cast<unsigned long long>(r.begin - zero),
                 static_cast<unsigned long long>(r.end - zero), static_cast<long long>(r.blocks),
                 text[static_cast<size_t>(r.name)]);
  }
  std::fclose(file);
}

}  // namespace

extern "C" int InitializeInjection() {
  cuptiActivityRegisterCallbacks(Requested, Completed);
  for (const auto kind : {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                          CUPTI_ACTIVITY_KIND_MEMSET}) {
    if (cuptiActivityEnable(kind) != CUPTI_SUCCESS) std::fprintf(stderr, "trace: no activities\n");
  }
  std::atexit(Write);
  return 1;
}
