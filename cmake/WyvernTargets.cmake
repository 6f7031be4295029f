# wyvern_library(NAME DEPENDS...) builds the library of the current folder from every source below
# it. Dependencies are inherited, so a library of a higher layer does not link; within the layers it is
# tests/house/rooms.py that holds includes to docs/rooms.md.
set(WYVERN_CXX_WARNINGS -Wall -Wextra)
set(WYVERN_CUDA_WARNINGS "")
if(WYVERN_WERROR)
  list(APPEND WYVERN_CXX_WARNINGS -Werror)
  list(APPEND WYVERN_CUDA_WARNINGS -Werror=all-warnings)
endif()
function(wyvern_warnings TARGET)
  target_compile_options(${TARGET} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:${WYVERN_CXX_WARNINGS} -Wno-missing-field-initializers>
    $<$<COMPILE_LANGUAGE:CUDA>:${WYVERN_CUDA_WARNINGS} --expt-relaxed-constexpr -lineinfo
      -Xcompiler=-Wall -Xcompiler=-Wno-missing-field-initializers>)
endfunction()

# Code that does not compute, for which the compiler's time counts more than its own.
set(WYVERN_COMPILE_FAST $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>)

function(wyvern_library NAME)
  file(GLOB_RECURSE SOURCES CONFIGURE_DEPENDS *.cc)
  if(WYVERN_CUDA)
    file(GLOB_RECURSE CUDA_SOURCES CONFIGURE_DEPENDS *.cu)
  else()
    list(FILTER SOURCES EXCLUDE REGEX "/cuda/")
  endif()
  list(FILTER SOURCES EXCLUDE REGEX "/main\\.cc$")
  add_library(${NAME} STATIC ${SOURCES} ${CUDA_SOURCES})
  target_include_directories(${NAME} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${NAME} PUBLIC ${ARGN})
  wyvern_warnings(${NAME})
endfunction()

# wyvern_tests(PREFIX DEPENDS...) makes one GoogleTest program of the *_test.cc (and with CUDA
# *_test.cu) in the current folder and below; its tests are registered with CTest one by one.
function(wyvern_tests PREFIX)
  file(GLOB_RECURSE SOURCES CONFIGURE_DEPENDS *_test.cc)
  if(WYVERN_CUDA)
    file(GLOB_RECURSE CUDA_SOURCES CONFIGURE_DEPENDS *_test.cu)
    list(APPEND SOURCES ${CUDA_SOURCES})
  endif()
  if(NOT SOURCES)
    return()
  endif()
  set(NAME ${PREFIX}_tests)
  add_executable(${NAME} ${SOURCES})
  target_link_libraries(${NAME} PRIVATE ${ARGN} wyvern_test_support GTest::gtest)
  target_compile_options(${NAME} PRIVATE ${WYVERN_COMPILE_FAST})
  wyvern_warnings(${NAME})
  include(GoogleTest)
  # Threads that spin while they wait starve each other when several tests share the cores.
  gtest_discover_tests(${NAME} TEST_PREFIX ${PREFIX}/ DISCOVERY_TIMEOUT 60
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    PROPERTIES TIMEOUT 300 ENVIRONMENT "OMP_WAIT_POLICY=passive;OPENBLAS_NUM_THREADS=1")
  # The names are known when the tests are run, so the labels are given then.
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/${NAME}_labels.cmake
    "include(${CMAKE_SOURCE_DIR}/cmake/TestLabels.cmake)\nwyvern_label_tests(\${${NAME}_TESTS})\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_CURRENT_BINARY_DIR}/${NAME}_labels.cmake)
endfunction()
