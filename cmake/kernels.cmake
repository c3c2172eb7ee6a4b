# Kernels are compiled per instruction set and chosen by function pointers at start
# (storage/encoding_kernels.c): everything else stays at the baseline of tally_flags.
set_source_files_properties(storage/encoding_kernels.c PROPERTIES COMPILE_OPTIONS "-O3")
set_source_files_properties(storage/encoding_avx2.c PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mbmi2")
set_source_files_properties(storage/encoding_avx512.c PROPERTIES COMPILE_OPTIONS
    "-O3;-mavx2;-mbmi2;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vbmi;-mavx512vbmi2")
